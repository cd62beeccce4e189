//! Session passwords: a pure function of the session id, the same in every server of an ensemble,
//! so that a session can move between Java servers and ours. It is no secret.

/// Bytes of a session password.
pub const PASSWORD_SIZE: usize = 16;

/// Java's server seeds its generator with the session id mixed with this.
const SECRET: i64 = 0xB341_5C00;

/// The password of a session: the first 16 bytes of `java.util.Random(session_id ^ SECRET)`.
#[must_use]
pub fn session_password(session_id: i64) -> [u8; PASSWORD_SIZE] {
    const MULTIPLIER: u64 = 0x5_DEEC_E66D;
    const INCREMENT: u64 = 0xB;
    const MASK: u64 = (1 << 48) - 1;

    let mut state = ((session_id ^ SECRET) as u64 ^ MULTIPLIER) & MASK;
    let mut password = [0; PASSWORD_SIZE];
    for chunk in password.chunks_exact_mut(4) {
        state = (state.wrapping_mul(MULTIPLIER).wrapping_add(INCREMENT)) & MASK;
        chunk.copy_from_slice(&((state >> 16) as u32).to_le_bytes());
    }
    password
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn passwords_are_those_of_a_java_server() {
        let password = |id| hex(&session_password(id));
        assert_eq!(password(0x0100_0000_0000_0000), "f22acd4a97e69d6d20a49bb638eadb38");
        assert_eq!(password(0x0100_0000_0000_abcd), "0630ce6bda6e0e1e6a313d3c4d5d18ec");
        assert_eq!(password(1), "054cc74a37327db215e702e20c73f005");
    }
}
