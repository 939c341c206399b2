use postroom::HandlerError;

#[derive(Debug, HandlerError)]
enum ConfirmError {
    #[on(retry)]
    Closed,
}

fn main() {}
