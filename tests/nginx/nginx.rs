//! Real nginx with a configuration that behaves as the vendors' published ones do.

use crate::web::certs::Authority;
use crate::web::client::Client;
use crate::web::relayd::{Directory, NAME};
use rustls::RootCertStore;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, Command, Stdio};

const BINARY: &str = "/usr/sbin/nginx";

pub struct Nginx {
    child: Child,
    pub addr: SocketAddr,
    roots: RootCertStore,
    dir: Directory,
}

impl Nginx {
    /// Starts it with the fixed upstreams of the prefix routes at `origin`.
    pub fn start(origin: SocketAddr, resolver: SocketAddr) -> Self {
        assert!(
            Path::new(BINARY).exists(),
            "{BINARY} is missing: this comparison needs the Debian package nginx-light"
        );
        let dir = Directory::new();
        let authority = Authority::new("nginx test root");
        let leaf = authority.leaf(&[NAME, "proxy.corp.io"]);
        dir.write("cert.pem", &leaf.chain_pem);
        dir.write("key.pem", &leaf.key_pem);
        let mut roots = RootCertStore::empty();
        roots
            .add(authority.certificate.clone())
            .expect("a good root");
        // The listener is made here and inherited, as in nginx's own upgrade of its binary: so its port is known and free.
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let addr = listener.local_addr().expect("an address");
        dir.write("nginx.conf", &configuration(&dir.0, addr, origin, resolver));
        let child = Command::new(BINARY)
            .arg("-p")
            .arg(&dir.0)
            .arg("-c")
            .arg(dir.path("nginx.conf"))
            .arg("-e")
            .arg(dir.path("error.log"))
            .env("NGINX", "0;")
            .stdin(Stdio::from(OwnedFd::from(listener)))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("nginx");
        Self {
            child,
            addr,
            roots,
            dir,
        }
    }

    pub fn authority(&self) -> String {
        format!("{NAME}:{}", self.addr.port())
    }

    pub fn connect(&self) -> Client {
        self.connect_alpn(&["http/1.1"])
    }

    pub fn connect_alpn(&self, alpn: &[&str]) -> Client {
        Client::tls(self.addr, NAME, self.roots.clone(), alpn)
    }

    pub fn errors(&self) -> String {
        std::fs::read_to_string(self.dir.path("error.log")).unwrap_or_default()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // SIGTERM, so that the master process takes its worker along.
        let pid = self.child.id().to_string();
        let _ = Command::new("kill").args(["-s", "TERM", &pid]).status();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- log of nginx ---\n{}", self.errors());
        }
    }
}

/// Three published configurations in one server, written anew.
///
/// - Azure's host route: a regular expression finds the host in the decoded path, every OPTIONS is answered here, the upstream is
///   asked without verifying it, redirects are asked for again at wherever they point, and a 400 or 405 goes to a place that has no answer.
/// - TRTC's two prefixes.
/// - watchRTC's page asks for a WebSocket proxy and shows no file: this is the form of nginx's own guide.
fn configuration(dir: &Path, addr: SocketAddr, origin: SocketAddr, resolver: SocketAddr) -> String {
    let dir = dir.display();
    format!(
        r#"daemon off;
worker_processes 1;
pid {dir}/nginx.pid;
events {{ worker_connections 512; }}
http {{
    access_log off;
    client_body_temp_path {dir}/client;
    proxy_temp_path {dir}/proxy;
    fastcgi_temp_path {dir}/fastcgi;
    uwsgi_temp_path {dir}/uwsgi;
    scgi_temp_path {dir}/scgi;
    resolver {resolver} ipv6=off;
    map $http_upgrade $upgrade_or_close {{ default upgrade; "" close; }}

    upstream signaling.rtc.qq.com {{ server {origin}; }}
    upstream yun.tim.qq.com {{ server {origin}; }}
    upstream watchrtc-server.cyara.com {{ server {origin}; }}

    server {{
        listen {addr} ssl;
        root {dir}/none;
        ssl_certificate {dir}/cert.pem;
        ssl_certificate_key {dir}/key.pem;

        location ~* "^/(?<named>.*?\.(?:com|net)(?::[0-9]+)?)/(?<rest>.*)$" {{
            if ($request_method = OPTIONS) {{
                add_header Access-Control-Allow-Origin "*" always;
                add_header Access-Control-Allow-Credentials "true" always;
                add_header Access-Control-Allow-Headers "*" always;
                add_header Access-Control-Allow-Methods "GET, POST, OPTIONS";
                add_header Access-Control-Max-Age 1728000;
                return 204;
            }}
            set $upstream_host $named;
            set $upstream_path $rest;
            rewrite ^/.*$ /$upstream_path break;
            proxy_http_version 1.1;
            proxy_ssl_server_name on;
            proxy_ssl_protocols TLSv1.2;
            proxy_set_header Host $upstream_host;
            proxy_set_header X-Real-IP $remote_addr;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $upgrade_or_close;
            proxy_set_header Proxy "";
            proxy_pass https://$upstream_host;
            proxy_intercept_errors on;
            error_page 301 302 307 = @redirected;
            error_page 400 405 = @refused;
        }}
        location @redirected {{
            set $next $upstream_http_location;
            proxy_pass $next;
        }}
        location @refused {{
            add_header Access-Control-Allow-Origin "*" always;
        }}

        location /ws/ {{
            proxy_pass https://signaling.rtc.qq.com/;
            proxy_http_version 1.1;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection "upgrade";
        }}
        location /logger/ {{
            proxy_pass https://yun.tim.qq.com/;
        }}
        location /websocket {{
            proxy_pass https://watchrtc-server.cyara.com/;
            proxy_http_version 1.1;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection "upgrade";
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
        }}
    }}
}}
"#
    )
}
