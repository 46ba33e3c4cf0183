# SPDX-License-Identifier: MIT
"""A person at a browser, as far as tests need one: keeps cookies and its connection, follows redirects, fills forms."""
import html.parser
import urllib.parse


class _Forms(html.parser.HTMLParser):
    def __init__(self, url):
        super().__init__()
        self.url, self.forms, self.text, self.links = url, [], [], []
        self.form = self.area = self.select = None
        self.skip = False

    def handle_starttag(self, tag, attrs):
        a = dict(attrs)
        if tag in ("script", "style"):
            self.skip = True
        if tag in ("a", "img", "link", "script"):
            self.links.append(urllib.parse.urljoin(self.url, a.get("href") or a.get("src") or ""))
        if tag == "form":
            self.form = {"action": urllib.parse.urljoin(self.url, a.get("action") or self.url), "id": a.get("id"),
                         "method": a.get("method", "get").lower(), "fields": {}, "buttons": {}}
            self.forms.append(self.form)
        if self.form is None or not a.get("name"):
            return
        if tag == "button" or a.get("type") == "submit":
            self.form["buttons"][a["name"]] = a.get("value") or ""
        elif a.get("type") in ("checkbox", "radio"):
            if "checked" in a:
                self.form["fields"][a["name"]] = a.get("value") or "on"
        elif tag == "input" and a.get("type") != "file":
            self.form["fields"][a["name"]] = a.get("value") or ""
        elif tag == "textarea":
            self.area = a["name"]
            self.form["fields"][self.area] = ""
        elif tag == "select":
            self.select = a["name"]

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag):
        if tag in ("script", "style"):
            self.skip = False
        elif tag == "form":
            self.form = None
        elif tag == "textarea":
            self.area = None

    def handle_data(self, data):
        if self.area is not None and self.form is not None:
            self.form["fields"][self.area] += data
        elif not self.skip:
            self.text.append(data)


class Page:
    def __init__(self, url, response):
        self.url, self.status, self.response = url, response.status, response
        self.parsed = _Forms(url)
        if (response["Content-Type"] or "").startswith("text/html"):
            self.parsed.feed(response.text)

    @property
    def text(self):
        """What can be read, with single blanks."""
        return " ".join(" ".join(self.parsed.text).split())

    @property
    def links(self):
        return self.parsed.links

    def form(self, having):
        """The form with a field or button of that name."""
        for form in self.parsed.forms:
            if having in form["fields"] or having in form["buttons"]:
                return form
        raise AssertionError(f"no form with {having} in {self.url}: {self.parsed.forms}\n{self.text[:2000]}")


class Browser:
    def __init__(self, ferry):
        self.ferry = ferry
        self.base = f"http://localhost:{ferry.port}"
        self.client = None
        self.cookies = {}

    def request(self, method, url, fields=(), body=b""):
        url = urllib.parse.urljoin(self.base, url)
        parts = urllib.parse.urlsplit(url)
        assert f"{parts.scheme}://{parts.netloc}" == self.base, f"a link leads elsewhere: {url}"
        target = urllib.parse.quote(parts.path or "/", safe="/%:@!$&'()*+,;=~-._") + (f"?{parts.query}" if parts.query else "")
        sent = [("User-Agent", "tests/1"), ("Accept", "*/*"), ("Accept-Language", "en")] + list(fields)
        if self.cookies:
            sent.append(("Cookie", "; ".join(f"{k}={v}" for k, v in self.cookies.items())))
        self.client = self.client or self.ferry.client()
        r = self.client.request(method, target, sent, body, host=parts.netloc)
        assert r is not None and r.complete, url
        for name, value in r.fields:
            if name.lower() == "set-cookie":
                key, _, rest = value.partition("=")
                text = rest.split(";")[0]
                self.cookies.pop(key, None) if text in ("", "deleted") else self.cookies.__setitem__(key, text)
        if (r["Connection"] or "").lower() == "close":
            self.close()
        return url, r

    def go(self, method, url, fields=(), body=b""):
        url, r = self.request(method, url, fields, body)
        for _ in range(5):
            if r.status not in (301, 302, 303):
                break
            url, r = self.request("GET", urllib.parse.urljoin(url, r["Location"]))
        return Page(url, r)

    def get(self, url, **fields):
        return self.go("GET", url, list(fields.items()))

    def submit(self, form, button=None, files=(), **values):
        """Sends a form; fields as they stand in it, or as given; file fields as name: (file name, type, bytes)."""
        fields = {**form["fields"], **values}
        if button is not None:
            fields[button] = form["buttons"][button]
        if form["method"] == "get":
            return self.get(form["action"].split("?")[0] + "?" + urllib.parse.urlencode(fields))
        if not files:
            return self.go("POST", form["action"], [("Content-Type", "application/x-www-form-urlencoded")],
                           urllib.parse.urlencode(fields).encode())
        boundary = "----tests9f3a"
        body = b"".join(f'--{boundary}\r\nContent-Disposition: form-data; name="{k}"\r\n\r\n{v}\r\n'.encode()
                        for k, v in fields.items())
        for name, (filename, kind, data) in files.items():
            body += (f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"; filename="{filename}"\r\n'
                     f"Content-Type: {kind}\r\n\r\n").encode() + data + b"\r\n"
        body += f"--{boundary}--\r\n".encode()
        return self.go("POST", form["action"], [("Content-Type", f"multipart/form-data; boundary={boundary}")], body)

    def close(self):
        if self.client:
            self.client.close()
        self.client = None
