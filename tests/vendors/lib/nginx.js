// nginx in relayd's place, with a configuration that behaves as the vendors' published ones do.
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { child, until } from '../../browser/lib/scratch.js';

const BINARY = process.env.NGINX_BIN ?? '/usr/sbin/nginx';

/** Starts it at `listen`; `resolver` is a name server. */
export async function startNginx(name, { dir, cert, key, listen, resolver }) {
  if (!existsSync(BINARY)) throw new Error(`${BINARY} is missing: apt-get install nginx-light`);
  const home = path.join(dir, 'nginx');
  mkdirSync(home);
  writeFileSync(path.join(home, 'nginx.conf'), configuration({ home, cert, key, listen, resolver }));
  const nginx = child(name, BINARY, ['-p', home, '-c', path.join(home, 'nginx.conf'), '-e', 'stderr']);
  const [host, port] = listen.split(':');
  const listening = () => new Promise((resolve, reject) => {
    if (!nginx.alive()) reject(new Error(`nginx ended:\n${nginx.lines.join('\n')}`));
    const socket = net.connect(Number(port), host, () => resolve(socket.end()));
    socket.on('error', () => resolve(null));
  });
  await until(`nginx at ${listen}`, listening);
  return { stop: nginx.stop };
}

/**
 * What the vendors publish, written anew with the same behaviour.
 *
 * - Azure: a regular expression finds a host in .com or .net in the decoded path, every OPTIONS is answered here, redirects are asked
 *   for again at wherever they point, a 400 or 405 goes to a place that has no answer.
 * - Agora: the host, port and path of the query, as nginx reads arguments.
 * - watchRTC: its page asks for a WebSocket proxy and shows no file; this is the form of nginx's own guide.
 */
const configuration = ({ home, cert, key, listen, resolver }) => `daemon off;
# Its workers keep large bodies in files of the test's own directory.
user root;
worker_processes 1;
pid ${home}/pid;
events { worker_connections 512; }
http {
  access_log off;
  client_body_temp_path ${home}/client;
  proxy_temp_path ${home}/proxy;
  fastcgi_temp_path ${home}/fastcgi;
  uwsgi_temp_path ${home}/uwsgi;
  scgi_temp_path ${home}/scgi;
  resolver ${resolver} ipv6=off;
  map $http_upgrade $upgrade_or_close { default upgrade; "" close; }

  # Fixed names are looked up at start, by the system and not by the resolver.
  upstream watchrtc-server.cyara.com { server 127.0.0.1:443; }

  server {
    listen ${listen} ssl;
    root ${home}/none;
    ssl_certificate ${cert};
    ssl_certificate_key ${key};

    location ~* "^/(?<named>.*?\\.(?:com|net)(?::[0-9]+)?)/(?<rest>.*)$" {
      if ($request_method = OPTIONS) {
        add_header Access-Control-Allow-Origin "*" always;
        add_header Access-Control-Allow-Credentials "true" always;
        add_header Access-Control-Allow-Headers "*" always;
        add_header Access-Control-Allow-Methods "GET, POST, OPTIONS";
        add_header Access-Control-Max-Age 1728000;
        return 204;
      }
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
      proxy_pass https://$upstream_host;
      proxy_intercept_errors on;
      error_page 301 302 307 = @redirected;
      error_page 400 405 = @refused;
    }
    location @redirected {
      set $next $upstream_http_location;
      proxy_pass $next;
    }
    location @refused {
      add_header Access-Control-Allow-Origin "*" always;
    }

    location /ap/ {
      proxy_set_header X-User-Address $remote_addr;
      proxy_pass https://$arg_url;
    }
    location ~ ^/[crl]s/ {
      proxy_pass https://$arg_h:$arg_p/$arg_d;
    }

    location /websocket {
      proxy_pass https://watchrtc-server.cyara.com/;
      proxy_http_version 1.1;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection "upgrade";
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    }
    location /ws/ {
      proxy_pass https://$arg_h:$arg_p;
      proxy_http_version 1.1;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection "upgrade";
    }
  }
}
`;
