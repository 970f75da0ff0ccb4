//! One request with any method, path and headers, with or without a body, to a server with a
//! base path and to one without.

use super::world::{Head, World};

pub async fn drive(input: &[u8]) {
    for base in ["", "/monitor"] {
        let Some((head, body)) = Head::parse(input) else { return };
        let mut world = World::new(base).await;
        let (request, peer) = head.request(body.to_vec());
        world.ask(request, peer).await;
        world.end().await;
    }
}
