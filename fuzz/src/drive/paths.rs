//! One request as it comes: any method, any path, any headers, perhaps a body, at a server
//! that stands under a path of its own and at one that does not.

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
