//! Realm, users and shared secrets: who may relay. Nobody may without one of them.

use super::{Draft, SecretValue, Table, Value, lines};
use crate::entropy::Entropy;
use crate::import::Fate;
use crate::import::facts::{At, Login};
use crate::secret::Secret;

/// Of a secret that the file does not have.
const MADE_BYTES: usize = 32;
/// A user name that may be the name of a file.
const FILE_NAME_CHARS_MAX: usize = 64;

impl Draft {
    pub(super) fn realm(&mut self) {
        if let Some(At { value, from }) = self.facts.realm.clone().filter(|at| !at.value.is_empty())
        {
            self.add(Table::Turn, "realm", Value::Text(value), vec![from]);
            return;
        }
        let keys = self
            .facts
            .users
            .iter()
            .filter(|user| matches!(user.value.1, Login::Key(_)));
        let keys: Vec<usize> = keys.map(|user| user.from).collect();
        let remark = "a key is good for one realm, and no realm is named: set turn.realm to the one that it was made for";
        self.facts.tell(keys, Fate::Remarked, remark);
    }

    pub(super) fn credentials(&mut self, entropy: &mut dyn Entropy) {
        let limited = self.facts.use_secret.is_some() || !self.facts.secrets.is_empty();
        self.about_anonymous();
        if limited {
            let users = lines(&self.facts.users);
            let remark = "coturn knows no users where there is a shared secret; relayd takes both, so write the user into [turn.users] if it is to work";
            self.facts.tell(users, Fate::NotRead, remark);
        } else {
            self.users();
        }
        let made = !self.secrets() && (limited || self.facts.users.is_empty());
        if made {
            self.made_secret(limited, entropy);
        }
    }

    fn about_anonymous(&mut self) {
        if let Some(at) = self.facts.no_auth.clone().filter(|at| at.value) {
            let remark = "relayd relays for nobody without credentials: an open relay is found and misused. Give clients a user of [turn.users] or a time-limited credential";
            self.facts.tell([at.from], Fate::NoCounterpart, remark);
        }
    }

    fn users(&mut self) {
        let users = self.facts.users.clone();
        for (index, At { value, from }) in users.into_iter().enumerate() {
            let (name, login) = value;
            let file = format!("user-{}", file_name(&name).unwrap_or(index.to_string()));
            let (prefix, secret) = match login {
                Login::Password(secret) => ("", secret),
                Login::Key(secret) => ("key:", secret),
            };
            let value = SecretValue {
                prefix,
                secret,
                file,
            };
            self.add(Table::TurnUsers, &name, Value::Secret(value), vec![from]);
        }
    }

    /// False if there is none.
    fn secrets(&mut self) -> bool {
        let mut kept: Vec<At<Secret>> = Vec::new();
        for at in self.facts.secrets.clone() {
            if kept.iter().any(|other| other.value == at.value) {
                self.facts
                    .tell([at.from], Fate::NotRead, "the same secret is there already");
            } else {
                kept.push(at);
            }
        }
        if kept.is_empty() {
            return false;
        }
        let mut from = lines(&kept);
        from.extend(self.facts.use_secret.iter().map(|at| at.from));
        let secrets = kept.into_iter().enumerate().map(|(index, at)| SecretValue {
            prefix: "",
            secret: at.value,
            file: format!("auth-secret-{}", index + 1),
        });
        let value = Value::Secrets(secrets.collect());
        self.add(Table::Turn, "auth_secret", value, from);
        true
    }

    /// relayd does not start without credentials, and nobody guesses this one.
    fn made_secret(&mut self, limited: bool, entropy: &mut dyn Entropy) {
        let mut bytes = [0; MADE_BYTES];
        entropy.fill(&mut bytes);
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let value = SecretValue {
            prefix: "",
            secret: Secret::new(hex),
            file: "auth-secret-1".to_owned(),
        };
        let from: Vec<usize> = self.facts.use_secret.iter().map(|at| at.from).collect();
        let what = if limited {
            "the secrets are in coturn's database, so auth_secret is a new one: put the secret there that your application uses (`turnadmin -S` shows it)"
        } else {
            "The file names no user and no secret, so anybody could relay, or the users are in coturn's database (SQLite: /var/lib/turn/turndb): auth_secret is a new one that nobody has. Write users into [turn.users], or make credentials with `relayd credential NAME`."
        };
        if from.is_empty() {
            self.remark(what);
        }
        self.facts.tell(from.clone(), Fate::Remarked, what);
        self.add(
            Table::Turn,
            "auth_secret",
            Value::Secrets(vec![value]),
            from,
        );
    }
}

fn file_name(user: &str) -> Option<String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '@');
    let usable = user.len() <= FILE_NAME_CHARS_MAX && user.chars().all(plain);
    // So that no name is one of those by number.
    let is_number = user.bytes().all(|byte| byte.is_ascii_digit());
    (usable && !is_number).then(|| user.to_owned())
}
