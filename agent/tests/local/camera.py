"""A camera's ONVIF service and Hikvision's ISAPI, with one user, admin. Every digest is computed here from the clear
password, by Python's own hashlib. usage: camera.py PASSWORD [refuse | dahua | dvrip | shared | plain [PORT]]; prints its port, and then each change.
`dahua`: Dahua's interface instead. `dvrip`: DVRIP beside ONVIF, on its own port and with the same user. `shared`: ONVIF and
ISAPI have the same user. Five wrong passwords in a row lock a user for good, as cameras do for half an hour.
Lines of standard input, each answered by `done`: `lock` and `unlock` users, as whoever tries wrong passwords does;
`lock-next`: at the next change; `keep` and `drop`: old passwords open it as well, or no more; `hang`: no request is answered."""

import base64
import hashlib
import http.server
import json
import re
import socketserver
import string
import struct
import sys
import threading
import urllib.parse

PASSWORD = sys.argv[1]
REFUSE = sys.argv[2:3] == ["refuse"]
DAHUA = sys.argv[2:3] == ["dahua"]
DVRIP = sys.argv[2:3] == ["dvrip"]
SHARED = sys.argv[2:3] == ["shared"]
PORT = int(sys.argv[3]) if sys.argv[3:] else 0
REALM = "Login to 3K0522PAZ" if DAHUA else "camera"
NONCE = "af3c1d"
# Never the time of this machine: a camera that has lost its clock.
DATE = {"Hour": 3, "Minute": 4, "Second": 5, "Year": 1970, "Month": 1, "Day": 2}
CREATED = "1970-01-02T03:04:05Z"
state = {"onvif": PASSWORD, "isapi": PASSWORD}
wrong = {"onvif": 0, "isapi": 0}
kept = []
told = set()


def user(service):
    return "onvif" if SHARED else service


def judge(service, right):
    """Counts wrong passwords; a locked user has no right one."""
    service = user(service)
    if wrong[service] >= 5:
        return False
    wrong[service] = 0 if right else wrong[service] + 1
    if wrong[service] == 5:
        print("locked", service, flush=True)
    return right


def passwords(service):
    return [state[user(service)], *(kept if "keep" in told else [])]


def obey():
    for line in sys.stdin:
        told.add(line.strip())
        if told & {"lock", "unlock"}:
            wrong.update(dict.fromkeys(wrong, 5 if "lock" in told else 0))
            told.difference_update({"lock", "unlock"})
        if "drop" in told:
            told.difference_update({"keep", "drop"})
        print("done", flush=True)


def value(text, name):
    found = re.search(rf"<(?:\w+:)?{name}(?: [^>]*)?>([^<]*)<", text)
    return found[1] if found else None


def token_fits(text):
    nonce, created, digest = (value(text, name) for name in ("Nonce", "Created", "Password"))
    if value(text, "Username") != "admin" or not nonce or created != CREATED:
        return False
    wanted = [
        hashlib.sha1(base64.b64decode(nonce) + created.encode() + password.encode()).digest()
        for password in passwords("onvif")
    ]
    return judge("onvif", base64.b64decode(digest) in wanted)


def md5(text):
    return hashlib.md5(text.encode()).hexdigest()


def digest_fits(header, method, path):
    fields = dict(re.findall(r'(\w+)="?([^",]*)"?', header or ""))
    if fields.get("username") != "admin" or fields.get("uri") != path or fields.get("nonce") != NONCE:
        return False
    rest = f"{NONCE}:{fields['nc']}:{fields['cnonce']}:{fields['qop']}:" + md5(f"{method}:{path}")
    secrets = [md5(f"admin:{REALM}:{password}") for password in passwords("isapi")]
    return judge("isapi", fields.get("response") in [md5(f"{secret}:{rest}") for secret in secrets])


class Camera(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status, body, *headers):
        self.send_response(status)
        for name, text in headers:
            self.send_header(name, text)
        self.send_header("Content-Length", str(len(body.encode())))
        self.end_headers()
        self.wfile.write(body.encode())

    def handle_one_request(self):
        if "hang" in told:
            threading.Event().wait()
        super().handle_one_request()

    def body(self):
        return self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()

    def do_POST(self):
        text = self.body()
        if DAHUA or self.path != "/onvif/device_service":
            return self.answer(404, "")
        if "GetSystemDateAndTime" in text:
            part = lambda names: "".join(f"<tt:{name}>{DATE[name]}</tt:{name}>" for name in names)
            return self.answer(
                200,
                "<e:Envelope><e:Body><tds:GetSystemDateAndTimeResponse><tds:SystemDateAndTime><tt:UTCDateTime>"
                f"<tt:Time>{part(('Hour', 'Minute', 'Second'))}</tt:Time><tt:Date>{part(('Year', 'Month', 'Day'))}</tt:Date>"
                "</tt:UTCDateTime></tds:SystemDateAndTime></tds:GetSystemDateAndTimeResponse></e:Body></e:Envelope>",
            )
        header, _, request = text.partition("<s:Body>")
        if not token_fits(header):
            return self.answer(400, "<e:Fault><e:Value>ter:NotAuthorized</e:Value></e:Fault>")
        if "GetUsers" in request:
            return self.answer(
                200,
                "<tds:GetUsersResponse><tds:User><tt:Username>admin</tt:Username>"
                "<tt:UserLevel>Administrator</tt:UserLevel></tds:User></tds:GetUsersResponse>",
            )
        if "SetUser" in request and value(request, "Username") == "admin" and value(request, "UserLevel") == "Administrator":
            if REFUSE:
                return self.answer(400, "<e:Fault><e:Value>ter:PasswordTooLong</e:Value></e:Fault>")
            return self.change("onvif", value(request, "Password"), "<tds:SetUserResponse/>")
        self.answer(400, "<e:Fault/>")

    def change(self, service, password, body):
        kept.append(state[user(service)])
        state[user(service)] = password
        if "lock-next" in told:
            told.discard("lock-next")
            wrong[user(service)] = 5
        print(service, password, flush=True)
        self.answer(200, body)

    def isapi(self):
        if digest_fits(self.headers.get("Authorization"), self.command, self.path):
            return True
        self.answer(401, "", ("WWW-Authenticate", f'Digest realm="{REALM}", nonce="{NONCE}", qop="auth"'))
        return False

    def dahua(self):
        place, _, query = self.path.partition("?")
        if place != "/cgi-bin/userManager.cgi":
            return self.answer(404, "")
        if not self.isapi():
            return None
        asked = dict(urllib.parse.parse_qsl(query, strict_parsing=True))
        if asked == {"action": "getUserInfo", "name": "admin"}:
            return self.answer(200, "Group=admin\r\nMemo=admin 's account\r\nName=admin\r\n")
        if asked.get("action") == "modifyPassword" and asked["name"] == "admin" and asked["pwdOld"] == state["isapi"]:
            return self.change("isapi", asked["pwd"], "OK\r\n")
        return self.answer(400, "Error\r\nBad Request!\r\n")

    def do_GET(self):
        if DAHUA:
            return self.dahua()
        if DVRIP:
            return self.answer(404, "")
        if self.path != "/ISAPI/Security/users":
            return self.answer(404, "")
        if self.isapi():
            self.answer(200, "<UserList><User><id>1</id><userName>admin</userName></User></UserList>")

    def do_PUT(self):
        text = self.body()
        if self.path != "/ISAPI/Security/users/1":
            return self.answer(404, "")
        if not self.isapi():
            return None
        password = value(text, "password")
        if REFUSE or (len(password) > 16 or value(text, "userName") != "admin"):
            return self.answer(400, "<ResponseStatus/>")
        return self.change("isapi", password, "<ResponseStatus/>")


class Dvrip(socketserver.BaseRequestHandler):
    """20 bytes of head, then JSON; the hash has a letter for each two bytes of MD5."""

    LETTERS = string.digits + string.ascii_uppercase + string.ascii_lowercase

    def hash(self, password):
        summed = [a + b for a, b in struct.iter_unpack("BB", hashlib.md5(password.encode()).digest())]
        return "".join(self.LETTERS[number % 62] for number in summed)

    def handle(self):
        user = None
        with self.request.makefile("rb") as stream:
            while len(head := stream.read(20)) == 20:
                magic, _, _session, count, what, length = struct.unpack("<BB2xII2xHI", head)
                text = stream.read(length)
                assert magic == 0xFF and text.endswith(b"\n\0")
                asked = json.loads(text[:-2])
                right = asked["UserName"] == "admin" and judge("onvif", asked["PassWord"] == self.hash(state["onvif"]))
                ret = 100 if right else 203
                if what == 1000:
                    user = asked["UserName"] if right else None
                elif what == 1488 and user and asked["SessionID"] == "0x0000001A":
                    if right:
                        # What the hash is of, the test knows.
                        state["onvif"] = next(known for known in KNOWN if self.hash(known) == asked["NewPassWord"])
                        print("dvrip", state["onvif"], flush=True)
                else:
                    ret = 105
                answer = json.dumps({"AliveInterval": 20, "Ret": ret, "SessionID": "0x0000001A"}, indent=1).encode() + b"\n\0"
                head = struct.pack("<BB2xII2xHI", 0xFF, 1, 26, count, what + 1, len(answer))
                # In pieces, as networks do.
                self.request.sendall(head[:7])
                self.request.sendall(head[7:] + answer)


# The password that a camera of DVRIP alone is given is read from the record of who gives it.
KNOWN = ["", "label-media-9ZKD"]
if DVRIP:
    threading.Thread(target=socketserver.ThreadingTCPServer(("127.0.0.1", 34567), Dvrip).serve_forever, daemon=True).start()
threading.Thread(target=obey, daemon=True).start()
server = http.server.ThreadingHTTPServer(("127.0.0.1", PORT), Camera)
print(server.server_address[1], flush=True)
server.serve_forever()
