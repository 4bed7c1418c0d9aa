//! Which account of the operating system a command runs under. Nobody checks what people call themselves with `--by`, so the audit
//! log keeps both: the name that was given, and the account.

use std::fmt;
use std::path::Path;
use std::sync::OnceLock;

/// The account of this process, once it is known.
static OWN: OnceLock<Option<Account>> = OnceLock::new();

/// An account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Account {
    uid: u32,
    name: Option<String>,
    /// Somebody signed in to the machine by it (Linux keeps that behind `sudo` too); false: the process merely runs as it, as jobs
    /// and containers do.
    pub signed_in: bool,
}

impl Account {
    /// Looks at the process, before its commands write their entries.
    pub(super) fn remember() {
        OWN.get_or_init(|| Self::read(Path::new("/proc/self"), Path::new("/etc/passwd")));
    }

    /// That of this process; none where the operating system does not tell.
    pub(super) fn own() -> Option<&'static Self> {
        OWN.get()?.as_ref()
    }

    fn read(process: &Path, accounts: &Path) -> Option<Self> {
        let signed_in = std::fs::read_to_string(process.join("loginuid")).ok();
        let signed_in = signed_in.and_then(|uid| uid.trim().parse().ok()).filter(|uid| *uid != u32::MAX);
        let runs_as = || {
            let status = std::fs::read_to_string(process.join("status")).ok()?;
            let line = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
            line.split_whitespace().next()?.parse().ok()
        };
        let uid = signed_in.or_else(runs_as)?;
        let accounts = std::fs::read_to_string(accounts).unwrap_or_default();
        let name = accounts.lines().find_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?;
            (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
        });
        Some(Self { uid, name, signed_in: signed_in.is_some() })
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let how = if self.signed_in { "signed in" } else { "not signed in" };
        match &self.name {
            Some(name) => write!(f, "{name}, uid {}, {how}", self.uid),
            None => write!(f, "uid {}, {how}", self.uid),
        }
    }
}

/// Why this account may not say the second word after that one; both as the log has them.
pub(super) fn not_a_second(asked: Option<&str>, own: Option<&Account>) -> Option<String> {
    let own = own.filter(|own| own.signed_in)?.to_string();
    (asked == Some(own.as_str())).then(|| {
        format!(
            "this account ({own}) gave the first word and cannot give the second: somebody else must, signed in to this machine \
             as themselves"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str =
        "root:x:0:0:root:/root:/bin/sh\nada:x:1001:1001:Ada Wells:/home/ada:/bin/sh\nonward:x:990:990::/:/bin/false\n";
    const STATUS: &str = "Name:\tonward\nUmask:\t0077\nUid:\t990\t990\t990\t990\nGid:\t990\t990\t990\t990\n";

    fn account(login: Option<&str>, status: &str) -> Option<Account> {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect("written");
        write("passwd", PASSWD);
        write("status", status);
        if let Some(login) = login {
            write("loginuid", login);
        }
        Account::read(folder.path(), &folder.path().join("passwd"))
    }

    #[test]
    fn who_signed_in_is_told_behind_the_account_that_the_process_runs_as() {
        let told = |login, status| account(login, status).map(|account| account.to_string());
        assert_eq!(told(Some("1001"), STATUS).as_deref(), Some("ada, uid 1001, signed in"));
        assert_eq!(told(Some("1001\n"), "").as_deref(), Some("ada, uid 1001, signed in"));
        assert_eq!(told(Some("4294967295"), STATUS).as_deref(), Some("onward, uid 990, not signed in"));
        assert_eq!(told(None, STATUS).as_deref(), Some("onward, uid 990, not signed in"));
        assert_eq!(told(Some("7"), STATUS).as_deref(), Some("uid 7, signed in"));
        for nothing in ["", "Uid:", "Uid:\tx", "Name:\t990"] {
            assert_eq!(told(None, nothing), None, "{nothing:?}");
            assert_eq!(told(Some("nobody"), nothing), None, "{nothing:?}");
        }
    }

    #[test]
    fn one_sign_in_is_one_person() {
        let ada = account(Some("1001"), STATUS);
        let told = ada.as_ref().map(ToString::to_string);
        assert!(not_a_second(told.as_deref(), ada.as_ref()).is_some_and(|why| why.contains("ada, uid 1001")));
        let other = account(Some("0"), STATUS);
        assert_eq!(not_a_second(told.as_deref(), other.as_ref()), None);
        assert_eq!(not_a_second(None, ada.as_ref()), None, "nobody knows who asked");
        let job = account(None, STATUS);
        let told = job.as_ref().map(ToString::to_string);
        assert_eq!(
            not_a_second(told.as_deref(), job.as_ref()),
            None,
            "whom a shared account stands for nobody can tell"
        );
        assert_eq!(not_a_second(told.as_deref(), None), None);
    }
}
