#[derive(Debug, thiserror::Error, postroom::HandlerError)]
#[error("it failed")]
struct ConfirmError;

fn main() {}
