//! Requests with bodies, of apps and administrators, one after another, on one server. A line
//! `---` separates them. The first line of each is `POST /path`, then headers if any; after an
//! empty line the body. `wait 130` moves the clock by 130 s.

use std::time::Duration;

use axum::http::{HeaderValue, header};

use super::world::{Head, World};

/// Most requests in an input.
const REQUESTS_MAX: usize = 16;

pub async fn drive(input: &[u8]) {
    let mut world = World::new("").await;
    let mut rest = input;
    for _ in 0..REQUESTS_MAX {
        let end = rest.windows(5).position(|five| five == b"\n---\n");
        let one = end.map_or(rest, |end| &rest[..end]);
        step(&mut world, one).await;
        match end {
            Some(end) => rest = &rest[end + 5..],
            None => break,
        }
    }
    world.end().await;
}

async fn step(world: &mut World, input: &[u8]) {
    let seconds = std::str::from_utf8(input).ok().and_then(|text| text.strip_prefix("wait ")?.trim().parse().ok());
    if let Some(seconds) = seconds {
        let seconds: u32 = seconds;
        world.wait(Duration::from_secs(seconds.into())).await;
        return;
    }
    // `$` words stand for ids that the server has made.
    let input = world.filled(input);
    let Some((mut head, body)) = Head::parse(&input) else { return };
    head.headers.entry(header::CONTENT_TYPE).or_insert(HeaderValue::from_static("application/json"));
    let (request, peer) = head.request(body.to_vec());
    world.ask(request, peer).await;
}
