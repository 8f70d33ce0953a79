// A hot function in Rust, format "http", with nothing but the standard library:
// rustc -O -C target-feature=+crt-static function.rs
// It answers each body with its number of words, and one that is no text with status 400.
use std::io::{self, BufRead, Read, Write};

fn answer(text: &str) -> String {
    text.split_whitespace().count().to_string()
}

fn main() -> io::Result<()> {
    let (mut input, mut output) = (io::stdin().lock(), io::stdout().lock());
    let mut line = String::new();
    while input.read_line(&mut line)? > 0 {
        let mut size = 0;
        loop {
            line.clear();
            if input.read_line(&mut line)? == 0 || line.trim().is_empty() {
                break;
            }
            let (name, value) = line.split_once(':').unwrap_or((&line, ""));
            if name.eq_ignore_ascii_case("content-length") {
                size = value.trim().parse().unwrap_or(0);
            }
        }
        let mut body = vec![0; size];
        input.read_exact(&mut body)?;
        let (status, reply) = match String::from_utf8(body) {
            Ok(text) => ("200 OK", answer(&text)),
            Err(error) => ("400 Bad Request", error.to_string()),
        };
        write!(output, "HTTP/1.1 {}\r\nContent-Type: text/plain\r\n", status)?;
        write!(output, "Content-Length: {}\r\n\r\n{}", reply.len(), reply)?;
        output.flush()?;
        line.clear();
    }
    Ok(())
}
