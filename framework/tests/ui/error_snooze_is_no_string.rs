use postroom::HandlerError;

#[derive(Debug, thiserror::Error, HandlerError)]
enum ConfirmError {
    #[error("the shop is closed")]
    #[on(snooze = 60)]
    Closed,
}

fn main() {}
