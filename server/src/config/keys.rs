//! The keys by name: those with an effect, and the variable that each can be given as.

use super::foreign;
use super::zoo_cfg::Error;
use super::zoo_cfg::Settings;

/// Keys with an effect. `server.N` comes on top.
const USED: &[&str] = &[
    "4lw.commands.whitelist",
    "DigestAuthenticationProvider.superDigest",
    "autopurge.snapRetainCount",
    "clientPort",
    "clientPortAddress",
    "clientPortListenBacklog",
    "cnxTimeout",
    "connectToLearnerMasterLimit",
    "dataDir",
    "dataLogDir",
    "db.autocreate",
    "dynamicConfigFile",
    "electionPortBindRetry",
    "globalOutstandingLimit",
    "initLimit",
    "jute.maxbuffer",
    "maxClientCnxns",
    "maxCnxns",
    "maxSessionTimeout",
    "metricsProvider.httpHost",
    "metricsProvider.httpPort",
    "minSessionTimeout",
    "peerType",
    "preAllocSize",
    "quorumListenOnAllIPs",
    "snapCount",
    "standaloneEnabled",
    "syncLimit",
    "tickTime",
    "version",
    "zab.electionFinalizeWaitMs",
    "zab.historyBytes",
    "zab.ioShards",
    "zab.linkQueueBytes",
    "zab.livenessTimeoutMs",
];

/// Environment variables that belong to us but are not settings of `zoo.cfg`.
pub(crate) const OTHER_VARIABLES: &[&str] = &[
    "ZAB_INITIALIZE_FILE",
    "ZAB_LOG",
    "ZAB_LOG_FORMAT",
    "ZAB_MYID",
    "ZAB_SERVER_NAME",
    "ZAB_REVISION",
    "ZAB_BUILD_DATE",
];

/// The number of a `server.N` key.
pub(crate) fn server_number(key: &str) -> Option<&str> {
    key.strip_prefix("server.")
}

/// Refuses what must not be ignored, and names what is.
pub(crate) fn check(settings: &Settings) -> Result<Vec<String>, Error> {
    let mut warnings = Vec::new();
    for (key, setting) in settings.iter() {
        let place = &setting.place;
        if USED.contains(&key) || server_number(key).is_some() {
            continue;
        }
        if let Some(refused) = foreign::refused(key) {
            if !refused.is_harmless(&setting.value) {
                return Err(Error::new(place.clone(), format!("{key}: {}", refused.instead)));
            }
        } else if let Some(ignored) = foreign::ignored(key) {
            if !ignored.is_harmless(&setting.value) {
                warnings.push(format!("{place}: {key} has no effect: {}", ignored.instead));
            }
        } else {
            warnings.push(format!("{place}: {key} is not known here and is ignored"));
        }
    }
    Ok(warnings)
}

/// The key that the variable `ZAB_<name>` stands for.
pub(crate) fn key_of_variable(name: &str) -> Option<String> {
    if let Some(number) = name.strip_prefix("SERVER_")
        && number.bytes().all(|byte| byte.is_ascii_digit())
    {
        return Some(format!("server.{number}"));
    }
    let names = |key: &&str| {
        let variable = variable_name(key);
        name == variable
            || name.strip_prefix("ZOOKEEPER_") == Some(&variable)
            || Some(name) == variable.strip_prefix("ZAB_")
    };
    USED.iter().copied().chain(foreign::whole_keys()).find(names).map(str::to_owned)
}

/// `dataLogDir` as `DATA_LOG_DIR`: an underscore where a capital follows a small letter or a digit, and for a dot.
fn variable_name(key: &str) -> String {
    let mut name = String::with_capacity(key.len() + 8);
    let mut after_small = false;
    for letter in key.chars() {
        if letter == '.' {
            name.push('_');
        } else {
            if letter.is_ascii_uppercase() && after_small {
                name.push('_');
            }
            name.push(letter.to_ascii_uppercase());
        }
        after_small = letter.is_ascii_lowercase() || letter.is_ascii_digit();
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_has_a_variable_of_its_own() {
        for (key, variable) in [
            ("dataDir", "DATA_DIR"),
            ("4lw.commands.whitelist", "4LW_COMMANDS_WHITELIST"),
            ("quorumListenOnAllIPs", "QUORUM_LISTEN_ON_ALL_IPS"),
            ("metricsProvider.httpPort", "METRICS_PROVIDER_HTTP_PORT"),
            ("zab.ioShards", "ZAB_IO_SHARDS"),
        ] {
            assert_eq!(variable_name(key), variable);
        }
        for key in USED {
            assert_eq!(key_of_variable(&variable_name(key)).as_deref(), Some(*key));
        }
        assert_eq!(key_of_variable("IO_SHARDS").as_deref(), Some("zab.ioShards"));
        assert_eq!(key_of_variable("SKIP_ACL").as_deref(), Some("skipACL"));
        assert_eq!(key_of_variable("SERVER_NAME"), None);
    }

    #[test]
    fn every_key_is_in_the_manual() {
        let manual = include_str!("../../README.md");
        for key in USED {
            assert!(manual.contains(&format!("`{key}`")), "{key} is not in server/README.md");
        }
    }
}
