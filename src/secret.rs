//! Secrets: 256 random bits, given out once as text. Only their SHA-256 is kept and compared.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

use crate::session::Digest;

/// Makes a secret (43 characters of base64url) and its digest. It never begins with a dash,
/// so a command line does not take it for an option.
///
/// # Panics
/// When the operating system gives no random numbers: no secret would be safe.
#[must_use]
pub fn fresh() -> (String, Digest) {
    let mut bits = [0_u8; 32];
    loop {
        getrandom::fill(&mut bits).expect("the operating system gives random numbers");
        let text = URL_SAFE_NO_PAD.encode(bits);
        if !text.starts_with('-') {
            let digest = digest(&text);
            return (text, digest);
        }
    }
}

/// The SHA-256 digest of a secret; this is what is kept.
#[must_use]
pub fn digest(text: &str) -> Digest {
    Sha256::digest(text.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_secret_looks_like_an_option() {
        // One in 64 would.
        assert!((0..2_000).all(|_| !fresh().0.starts_with('-')));
    }
}
