#[derive(Debug, thiserror::Error, postroom::HandlerError)]
enum RelayError {
    #[error("the relay is closed")]
    #[on(pause = "0s")]
    Closed,
    #[error("the relay is down")]
    #[on(pause = "a while")]
    Down,
    #[error("the relay is busy")]
    #[on(pause)]
    Busy,
}

fn main() {}
