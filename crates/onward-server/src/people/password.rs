//! Passwords, for those whose computer cannot do passkeys: Argon2id with the library's parameters (19 MiB, two passes; RFC
//! 9106 and OWASP's minimum), a few at a time.

use std::time::Duration;

use argon2::Argon2;
use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
use onward_core::people::User;
use onward_core::store::StoreError;
use tokio::sync::{Semaphore, SemaphorePermit};

/// Shortest and longest password, characters (NIST SP 800-63B-4 §3.1.1.2: at least 8 beside a second factor).
const LENGTH: std::ops::RangeInclusive<usize> = 12..=128;
/// Words of this service, which do not make a password better.
const OURS: [&str; 3] = ["onward", "discharge", "nhs"];
/// Passwords that are checked at once: each takes 19 MiB and a processor.
const AT_ONCE: usize = 2;
/// Longest wait for one's turn.
const PATIENCE: Duration = Duration::from_secs(10);
/// What is checked where there is no password, so that the time does not tell that there is none. No password has it.
const NOBODY: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// Whose turn it is.
pub(super) struct Passwords(Semaphore);

impl Passwords {
    pub(super) fn new() -> Self {
        Self(Semaphore::new(AT_ONCE))
    }

    /// One's turn; none when too many wait.
    pub(super) async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        tokio::time::timeout(PATIENCE, self.0.acquire()).await.ok()?.ok()
    }
}

/// The PHC string of a password.
///
/// # Errors
/// When the machine gives no randomness.
pub(super) async fn hash(password: String) -> Result<String, StoreError> {
    let hashed = tokio::task::spawn_blocking(move || {
        Argon2::default().hash_password(password.as_bytes()).map(|hash| hash.to_string())
    });
    hashed
        .await
        .ok()
        .and_then(Result::ok)
        .ok_or_else(|| StoreError::Unavailable("a password could not be hashed".to_owned()))
}

/// Whether this is the password; it takes the same time when there is none.
pub(super) async fn verify(password: String, hash: Option<String>) -> bool {
    let exists = hash.is_some();
    let hash = hash.unwrap_or_else(|| NOBODY.to_owned());
    let checked = tokio::task::spawn_blocking(move || {
        Argon2::default().verify_password(password.as_bytes(), hash.as_str()).is_ok()
    });
    checked.await.unwrap_or(false) && exists
}

/// What is wrong with a new password, for its owner to read.
pub(super) fn problem(password: &str, user: &User) -> Option<&'static str> {
    if !LENGTH.contains(&password.chars().count()) {
        return Some(
            "The password needs 12 to 128 characters. Three or four words that do not belong together are good.",
        );
    }
    let lower = password.to_lowercase();
    let own: Vec<&str> = user.email.split(['@', '.']).chain(user.name.split_whitespace()).collect();
    if own.iter().any(|part| part.chars().count() > 3 && lower.contains(&part.to_lowercase())) {
        return Some("The password contains a part of your name or e-mail address. Choose one that does not.");
    }
    let known: Vec<&str> = own.into_iter().chain(OURS).collect();
    // Three of four: a hundred million guesses are not enough to find it, and a second factor stands beside it.
    (zxcvbn::zxcvbn(password, &known).score() < zxcvbn::Score::Three)
        .then_some("The password is one that is easy to guess. Choose another.")
}

#[cfg(test)]
mod tests {
    use onward_core::UserId;
    use onward_core::people::Role;

    use super::*;

    #[tokio::test]
    async fn only_the_password_is_the_password() {
        let hashed = hash("correct horse battery".to_owned()).await.expect("hashed");
        assert!(hashed.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hashed}");
        assert!(verify("correct horse battery".to_owned(), Some(hashed.clone())).await);
        assert!(!verify("correct horse Battery".to_owned(), Some(hashed.clone())).await);
        assert!(!verify(String::new(), None).await);
        let parsed = argon2::password_hash::phc::PasswordHash::new(NOBODY).expect("the stand-in is a hash");
        let real = argon2::password_hash::phc::PasswordHash::new(&hashed).expect("a hash");
        assert_eq!((parsed.algorithm, parsed.params), (real.algorithm, real.params), "the same work");
    }

    #[test]
    fn what_is_easy_to_guess_is_refused() {
        let user = User {
            id: UserId::random(),
            name: "Ada Example".to_owned(),
            email: "ada.bright@rowan.example".to_owned(),
            role: Role::CareHomeUser,
            organisations: Vec::new(),
            subject: None,
            disabled: false,
        };
        for bad in [
            "short",
            "aaaaaaaaaaaaaaaa",
            "my-EXAMPLE-is-long",
            "rowan-tree-garden",
            "Password12345",
            "P@ssw0rd2026!",
            "qwertyuiop123",
            "1234567890123",
            "onward1234567",
            "iloveyou-2026",
            "manchesterunited",
            "abcabcabcabcabc",
        ] {
            assert!(problem(bad, &user).is_some(), "{bad}");
        }
        assert!(problem(&"a1".repeat(65), &user).is_some(), "too long");
        assert_eq!(problem("kettle lamp orbit", &user), None);
        assert_eq!(problem("шесть слов подряд", &user), None);
    }
}
