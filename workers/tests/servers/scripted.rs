//! A server that follows a script, for what no real server does on demand: refusals in odd places, half answers, lines
//! in an order that is allowed and rare.

use std::sync::Arc;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

/// One step of a script.
#[derive(Debug, Clone)]
pub(crate) enum Script {
    /// Says this, line ends included.
    Say(&'static str),
    /// Waits for a line that contains this. The tag of the last line that has one replaces `%` in what is said then.
    Hear(&'static str),
    /// Reads the content of a mail, up to and with the final dot.
    HearContent,
    /// Answers rounds of IDLE, DONE and an empty UID SEARCH until a line contains this.
    WhileIdle(&'static str),
    /// Tells the test that it has come so far.
    Tell(Arc<Notify>),
    /// Waits until the client is gone.
    UntilClosed,
    /// Closes the connection.
    Close,
    /// Says nothing more, and keeps the connection.
    Hang,
}

/// A scripted server: the first connection follows the first script, the next one the next.
#[derive(Debug)]
pub(crate) struct Scripted {
    pub(crate) port: u16,
    task: JoinHandle<Vec<String>>,
}

impl Scripted {
    pub(crate) async fn start(scripts: Vec<Vec<Script>>) -> Scripted {
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .expect("loopback has a free port");
        let port = listener.local_addr().expect("it is bound").port();
        let task = tokio::spawn(async move {
            let mut heard = Vec::new();
            for script in scripts {
                let (stream, _) = listener.accept().await.expect("a connection");
                follow(stream, script, &mut heard).await;
            }
            heard
        });
        Scripted { port, task }
    }

    /// All lines that were heard, once every script is over.
    pub(crate) async fn heard(self) -> Vec<String> {
        self.task.await.expect("the script was followed")
    }

    /// For scripts that end in [`Script::Hang`].
    pub(crate) fn stop(&self) {
        self.task.abort();
    }
}

async fn follow(stream: TcpStream, script: Vec<Script>, heard: &mut Vec<String>) {
    let mut stream = BufReader::new(stream);
    let mut tag = String::new();
    for step in script {
        match step {
            Script::Say(text) => {
                let text = text.replace('%', &tag);
                stream
                    .get_mut()
                    .write_all(text.as_bytes())
                    .await
                    .expect("the client listens");
            }
            Script::Hear(wanted) => {
                let mut line = String::new();
                stream.read_line(&mut line).await.expect("the client speaks");
                assert!(line.contains(wanted), "expected {wanted:?}, heard {line:?}");
                if let Some((first, _)) = line.split_once(' ') {
                    tag = first.to_owned();
                }
                heard.push(line);
            }
            Script::HearContent => {
                let mut content = Vec::new();
                while !content.ends_with(b"\r\n.\r\n") {
                    content.push(stream.read_u8().await.expect("the client writes its mail"));
                }
                heard.push(String::from_utf8_lossy(&content).into_owned());
            }
            Script::WhileIdle(wanted) => loop {
                let mut line = String::new();
                stream.read_line(&mut line).await.expect("the client speaks");
                if let Some((first, _)) = line.split_once(' ') {
                    first.clone_into(&mut tag);
                }
                let answer = match line.trim_end() {
                    line if line.contains(wanted) => break,
                    line if line.ends_with("IDLE") => "+ \r\n".to_owned(),
                    line if line.contains("UID SEARCH") => format!("* SEARCH\r\n{tag} OK\r\n"),
                    _ => format!("{tag} OK\r\n"),
                };
                stream
                    .get_mut()
                    .write_all(answer.as_bytes())
                    .await
                    .expect("the client listens");
            },
            Script::Tell(test) => test.notify_one(),
            Script::UntilClosed => {
                let mut rest = Vec::new();
                // A client that was killed may reset the connection instead of closing it.
                let _ = stream.read_to_end(&mut rest).await;
            }
            Script::Close => return,
            Script::Hang => std::future::pending().await,
        }
    }
}
