//! The keys by name: those that mean something here, those that do not, and those that must not be overlooked.

use super::zoo_cfg::Error;
use super::zoo_cfg::Settings;

/// Keys with an effect. `server.N` comes on top.
const USED: &[&str] = &[
    "4lw.commands.whitelist",
    "DigestAuthenticationProvider.superDigest",
    "autopurge.purgeInterval",
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
    "zab.electionFinalizeWaitMs",
    "zab.historyBytes",
    "zab.ioShards",
    "zab.linkQueueBytes",
    "zab.livenessTimeoutMs",
    "zab.segmentSizeBytes",
];

/// Keys of ZooKeeper whose effect is a given here, or that steer parts of the Java server that do not exist here.
/// They are passed over in silence.
const WITHOUT_EFFECT: &[&str] = &[
    "admin.commandURL",
    "admin.enableServer",
    "admin.idleTimeout",
    "admin.serverAddress",
    "admin.serverPort",
    "commitProcessor.numWorkerThreads",
    "fsync.warningthresholdms",
    "leaderServes",
    "metricsProvider.className",
    "metricsProvider.exportJvmInfo",
    "nio.numSelectorThreads",
    "nio.numWorkerThreads",
    "serverCnxnFactory",
    "syncEnabled",
    "tcpKeepAlive",
];

/// Settings that a server must not seem to honour: keys (or their beginnings, ending in a dot), the values that ask
/// for nothing, and what to do instead.
const REFUSED: &[(&str, &[&str], &str)] = &[
    ("group.", &[], "hierarchical quorums are not supported; remove the group and weight lines"),
    ("weight.", &[], "hierarchical quorums are not supported; remove the group and weight lines"),
    ("oraclePath", &[], "the quorum oracle is not supported; remove the line"),
    ("electionAlg", &["3"], "only election algorithm 3 (fast leader election) exists"),
    ("secureClientPort", &[], "TLS is not supported; remove the line"),
    ("secureClientPortAddress", &[], "TLS is not supported; remove the line"),
    ("client.portUnification", &["false"], "TLS is not supported; remove the line"),
    ("sslQuorum", &["false"], "TLS is not supported; remove the line"),
    ("portUnification", &["false"], "TLS is not supported; remove the line"),
    ("multiAddress.enabled", &["false"], "several addresses per server are not supported"),
    ("quorum.auth.enableSasl", &["false"], "SASL between servers is not supported"),
    ("quorum.auth.serverRequireSasl", &["false"], "SASL between servers is not supported"),
    ("quorum.auth.learnerRequireSasl", &["false"], "SASL between servers is not supported"),
    ("sessionRequireClientSASLAuth", &["false"], "SASL is not supported"),
    ("enforce.auth.enabled", &["false"], "enforced authentication is not supported"),
    ("skipACL", &["no", "false"], "ACLs are always checked; remove the line"),
    ("DigestAuthenticationProvider.digestAlg", &["SHA1"], "only SHA1 digests are supported"),
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
        let refused = REFUSED
            .iter()
            .find(|(name, _, _)| *name == key || (name.ends_with('.') && key.starts_with(name)));
        if let Some((_, harmless, why)) = refused {
            if !harmless.iter().any(|value| value.eq_ignore_ascii_case(&setting.value)) {
                return Err(Error::new(setting.place.clone(), format!("{key}: {why}")));
            }
        } else if !USED.contains(&key)
            && !WITHOUT_EFFECT.contains(&key)
            && server_number(key).is_none()
        {
            warnings.push(format!("{}: {key} is not known here and is ignored", setting.place));
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
    let names = |key: &&&str| {
        let variable = variable_name(key);
        name == variable
            || name.strip_prefix("ZOOKEEPER_") == Some(&variable)
            || Some(name) == variable.strip_prefix("ZAB_")
    };
    let refused = REFUSED.iter().map(|(key, _, _)| key).filter(|key| !key.ends_with('.'));
    USED.iter().chain(WITHOUT_EFFECT).chain(refused).find(names).map(|key| (*key).to_owned())
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
}
