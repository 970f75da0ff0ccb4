//! Whether one dashboard that reads nothing delays a hundred that do.

use std::net::SocketAddr;

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};

use crate::Bench;
use crate::fanout::delays;
use crate::http::{Connection, request};
use crate::process::Process;
use crate::report::{Row, Verdict, median, percentile};
use crate::socket;

const DASHBOARDS: usize = 100;
const SESSIONS: u64 = 20;

/// A dashboard with the smallest receive buffer, which never reads.
async fn stalled(port: u16) -> TcpStream {
    let narrow = TcpSocket::new_v4().expect("a socket");
    narrow.set_recv_buffer_size(4_096).expect("it may be small");
    let mut stream = narrow.connect(SocketAddr::from(([127, 0, 0, 1], port))).await.expect("the server accepts");
    stream.write_all(socket::handshake(port, "/ws").as_bytes()).await.expect("the handshake goes out");
    stream
}

/// The time of changes to the hundred dashboards, alternately with and without the stalled one.
pub async fn beside(bench: &Bench) -> Vec<Row> {
    let folder = bench.folder();
    let ours = Process::sessionwatch(folder.path(), &[]);
    let port = ours.port;
    // Large changes, so that the kernel's buffers for the stalled one are full soon.
    let meta: Vec<String> = (0..30).map(|key| format!(r#""k{key}":"{}""#, "x".repeat(100))).collect();
    let mut connection = Connection::open(port).await.expect("the server accepts");
    for session in 0..SESSIONS {
        let body = format!(r#"{{"app_name":"a","session_id":"s{session}","meta":{{{}}}}}"#, meta.join(","));
        connection.must(&request("POST", "/sessions", port, Some(&body))).await;
    }
    let watchers = if bench.smoke { 5 } else { DASHBOARDS };
    let ask = |change: u64| {
        let body = format!(r#"{{"status":"running","current_task":"c{change}"}}"#);
        request("PUT", &format!("/sessions/s{}/status", change % SESSIONS), port, Some(&body))
    };
    let (mut without, mut with, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    let p99 = async |one: Option<TcpStream>| {
        // It costs nothing before its buffers are full; the other side warms up as long.
        delays(bench, port, "/ws", 1, ask).await;
        let p99 = percentile(&delays(bench, port, "/ws", watchers, ask).await.delays, 0.99);
        drop(one);
        p99
    };
    for round in 0..bench.rounds() {
        // The order alternates, so that neither side has an advantage.
        let [mut calm, mut beside] = [0.0; 2];
        for is_stalled in [round % 2 == 1, round % 2 == 0] {
            if is_stalled {
                beside = p99(Some(stalled(port).await)).await;
            } else {
                calm = p99(None).await;
            }
        }
        without.push(calm);
        with.push(beside);
        ratios.push(beside / calm);
    }
    let moved = (median(&ratios) - 1.0) * 100.0;
    vec![
        Row::new(
            format!("change to dashboard, {watchers} dashboards beside a stalled one"),
            "p99 moves ≤ 10 %",
            format!("p99 {:.2} ms", median(&with) * 1e3),
            Verdict::of(moved <= 10.0),
        )
        .against(format!("without it {:.2} ms ({moved:+.0} %)", median(&without) * 1e3)),
    ]
}
