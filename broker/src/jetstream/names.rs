//! Random names: for servers, events and consumers that were given none.

/// What nats-server's ids are made of.
const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// 22 characters, as a NUID has.
pub fn random_token() -> String {
    random_name(22)
}

pub fn random_name(len: usize) -> String {
    (0..len)
        .map(|_| char::from(ALPHABET[rand::random_range(0..ALPHABET.len())]))
        .collect()
}

/// Shaped like the public nkey of a server, which clients take for an opaque string.
pub fn server_id() -> String {
    const BASE32: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let rest = (0..55).map(|_| char::from(BASE32[rand::random_range(0..BASE32.len())]));
    std::iter::once('N').chain(rest).collect()
}
