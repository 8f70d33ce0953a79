from hotfn_function import Call, serve


def handle(call: Call) -> str:
    return f"hello {call.text().strip() or 'world'}\n"


if __name__ == "__main__":
    serve(handle)
