//! The other yardstick: nginx, which takes the same bodies over TLS and hands them on over TLS to the server that only answers.

use std::path::Path;

use tokio::process::Command;

/// One process, as the gateway is one; nothing is logged or kept.
const SETTINGS: &str = r#"daemon off;
master_process off;
pid nginx.pid;
error_log stderr error;
events { worker_connections 1024; }
http {
  access_log off;
  client_max_body_size 10m;
  client_body_buffer_size 4m;
  client_body_temp_path nginx-body;
  proxy_temp_path nginx-proxy;
  fastcgi_temp_path nginx-fastcgi;
  uwsgi_temp_path nginx-uwsgi;
  scgi_temp_path nginx-scgi;
  upstream answer { server 127.0.0.1:{answer}; keepalive 64; }
  server {
    listen 127.0.0.1:{port} ssl;
    ssl_certificate server.crt;
    ssl_certificate_key server.key;
    ssl_protocols TLSv1.2 TLSv1.3;
    location / {
      proxy_pass https://answer;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Host 127.0.0.1:{answer};
      proxy_ssl_trusted_certificate ca.crt;
      proxy_ssl_name localhost;
      proxy_ssl_verify on;
      proxy_ssl_protocols TLSv1.2 TLSv1.3;
    }
  }
}
"#;

/// nginx in this folder, from this port to that of the server that only answers.
pub(super) fn command(folder: &Path, port: u16, answer: u16) -> std::io::Result<Command> {
    let settings = SETTINGS.replace("{port}", &port.to_string()).replace("{answer}", &answer.to_string());
    std::fs::write(folder.join("nginx.conf"), settings)?;
    let mut command = Command::new("nginx");
    command.args(["-e", "stderr", "-c", "nginx.conf", "-p"]).arg(folder);
    Ok(command)
}
