//! The gate, with the head of a request: which combinations of Host, Origin, Authorization,
//! Cookie, Sec-WebSocket-Protocol and proxy headers it accepts.

use std::sync::OnceLock;

use axum::http::{HeaderValue, header};
use sessionwatch::edge::gate::{Access, Gate};

use super::world::{Head, gate};

const CLASSES: [Access; 6] = [Access::Register, Access::Own, Access::Script, Access::View, Access::Admin, Access::Page];

/// The gates: local, local with `--strict`, and on the network.
fn gates() -> &'static [Gate; 3] {
    static GATES: OnceLock<[Gate; 3]> = OnceLock::new();
    GATES.get_or_init(|| [gate(true, false), gate(true, true), gate(false, false)])
}

pub fn drive(input: &[u8]) {
    let Some((mut head, _)) = Head::parse(input) else { return };
    head.headers.entry(header::HOST).or_insert(HeaderValue::from_static("localhost:8000"));
    // Only a `$` word is replaced by a valid secret: random input cannot contain one.
    let knows_a_secret = input.contains(&b'$');
    for gate in gates() {
        for access in CLASSES {
            let Ok(caller) = gate.check(access, &head.method, &head.uri, head.version, &head.headers, head.peer) else {
                continue;
            };
            assert!(knows_a_secret || caller.identity.is_none(), "a secret was guessed");
            let far = gate.strict || !gate.loopback || !head.peer.ip().to_canonical().is_loopback();
            assert!(!(far && caller.local), "{} is taken for local", head.peer);
            let closed = matches!(access, Access::View | Access::Admin);
            assert!(!(far && closed) || knows_a_secret, "{} may {access:?} without a secret", head.peer);
            let registers = access == Access::Register && caller.may_register();
            assert!(!(far && registers) || knows_a_secret, "{} may register without a secret", head.peer);
            assert!(!caller.is_admin() || caller.identity.is_some());
            if let Some(origin) = caller.cors {
                assert!(access.is_ingest(), "{origin:?} may read the answer to {access:?}");
            }
        }
    }
}
