//! Attachments go through the scanner before anything is taken in.

use std::time::Duration;

use bytes::Bytes;
use onward_core::scanning::{NotScanned, Scanned, Scanner};

use crate::Gateway;
use crate::accept::{AcceptError, Submission};
use crate::refusal::Refusal;

/// How long all attachments of a message may take to be looked through: somebody waits for the answer.
const ALL_MAX: Duration = Duration::from_secs(30);

impl Gateway {
    /// Refuses a message whose attachments hold malware.
    ///
    /// # Errors
    /// The refusal, which has been audited; or that nobody looked through all of them.
    pub(crate) async fn refuse_malware(
        &self,
        submission: &Submission,
        attachments: &[Bytes],
    ) -> Result<(), AcceptError> {
        let Some(scanner) = &self.scanner else { return Ok(()) };
        let Some(refusal) = malware_in(scanner.as_ref(), attachments, ALL_MAX).await? else { return Ok(()) };
        tracing::error!(client = %submission.client.id, %refusal, "a message is refused");
        Err(self.refuse(submission, refusal).await?)
    }
}

/// Looks through the attachments, one after the other: the first that holds malware decides.
async fn malware_in(
    scanner: &dyn Scanner,
    attachments: &[Bytes],
    all_max: Duration,
) -> Result<Option<Refusal>, NotScanned> {
    let all = async {
        for (place, bytes) in attachments.iter().enumerate() {
            if let Scanned::Malware(name) = scanner.scan(Bytes::clone(bytes)).await? {
                return Ok(Some(Refusal::Malware { number: place + 1, name }));
            }
        }
        Ok(None)
    };
    let late = |_| NotScanned(format!("{} attachments take too long together", attachments.len()));
    tokio::time::timeout(all_max, all).await.map_err(late)?
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;

    use super::*;

    /// Finds what it is told to, and does not end where it is told to.
    struct Told;

    #[async_trait]
    impl Scanner for Told {
        async fn scan(&self, bytes: Bytes) -> Result<Scanned, NotScanned> {
            match &*bytes {
                b"bad" => Ok(Scanned::Malware("Test".to_owned())),
                b"slow" => std::future::pending().await,
                b"down" => Err(NotScanned("nobody is there".to_owned())),
                _ => Ok(Scanned::Clean),
            }
        }
    }

    async fn scanned(attachments: &[&'static str], all_max: Duration) -> Result<Option<Refusal>, NotScanned> {
        let attachments: Vec<Bytes> = attachments.iter().copied().map(Bytes::from).collect();
        malware_in(&Told, &attachments, all_max).await
    }

    #[tokio::test]
    async fn every_attachment_is_looked_through_and_the_first_that_is_bad_decides() {
        let minute = Duration::from_secs(60);
        assert!(matches!(scanned(&["good", "good"], minute).await, Ok(None)));
        let refused = scanned(&["good", "bad", "slow"], minute).await;
        assert!(matches!(refused, Ok(Some(Refusal::Malware { number: 2, .. }))));
        assert!(scanned(&["good", "down", "bad"], minute).await.is_err(), "nobody looked through the second");
    }

    #[tokio::test]
    async fn what_takes_too_long_is_not_taken_for_clean() {
        let late = scanned(&["good", "slow", "bad"], Duration::from_millis(50)).await.expect_err("it never ends");
        assert_eq!(late.0, "3 attachments take too long together");
    }
}
