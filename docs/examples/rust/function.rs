// A hot function in Rust, format "http", with nothing but the standard library: rustc -O function.rs
// It answers each body with its number of words.
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
        let reply = answer(&String::from_utf8_lossy(&body));
        write!(output, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{}", reply.len(), reply)?;
        output.flush()?;
        line.clear();
    }
    Ok(())
}
