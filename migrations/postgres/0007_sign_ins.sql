-- The refresh tokens that token servers gave in place of earlier ones: secrets, as good as the account's password.
CREATE TABLE sign_ins (
    account       TEXT   NOT NULL PRIMARY KEY,
    origin        TEXT   NOT NULL,          -- 'sign-in', or 'sha256:…' of the configured token that it descends from
    refresh_token TEXT   NOT NULL,
    updated       BIGINT NOT NULL           -- epoch milliseconds by the database's own clock
);
