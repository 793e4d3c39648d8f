"""Drives Thunderbird, without a display, by Marionette: sends a letter for each argument, and looks
whether that is in the inbox.

An argument is a JSON object: the `subject`, the `settings` to set before, and whether the `inbox` is
to be read. What goes wrong ends the program with a message.
"""

import json
import os
import subprocess
import sys
import time

sys.path.append("/opt/driver")
from marionette_driver.errors import MarionetteException, NoAlertPresentException
from marionette_driver.marionette import Marionette

PROFILE = "/tmp/profile"
HOST = "mail.example.test"
READER = "reader@example.test"
# How long Thunderbird may take to start, to send and to read, on a busy machine.
PATIENCE = 240
SETTINGS = {
    "mail.accountmanager.accounts": "account1,account2",
    "mail.accountmanager.defaultaccount": "account1",
    "mail.accountmanager.localfoldersserver": "server2",
    "mail.account.account1.identities": "id1",
    "mail.account.account1.server": "server1",
    "mail.account.account2.server": "server2",
    "mail.account.lastKey": 2,
    "mail.identity.id1.fullName": "Sender",
    "mail.identity.id1.useremail": "sender@example.test",
    "mail.identity.id1.smtpServer": "smtp1",
    "mail.identity.id1.valid": True,
    "mail.identity.id1.fcc": False,
    "mail.identity.id1.compose_html": False,
    "mail.server.server1.type": "imap",
    "mail.server.server1.hostname": HOST,
    "mail.server.server1.port": 143,
    "mail.server.server1.socketType": 2,
    "mail.server.server1.authMethod": 3,
    "mail.server.server1.userName": "reader",
    "mail.server.server1.name": READER,
    "mail.server.server1.login_at_startup": False,
    "mail.server.server1.check_new_mail": False,
    "mail.server.server2.type": "none",
    "mail.server.server2.hostname": "Local Folders",
    "mail.server.server2.userName": "nobody",
    "mail.server.server2.name": "Local Folders",
    "mail.smtpservers": "smtp1",
    "mail.smtp.defaultserver": "smtp1",
    "mail.smtpserver.smtp1.hostname": HOST,
    "mail.smtpserver.smtp1.port": 587,
    # STARTTLS, without a login.
    "mail.smtpserver.smtp1.try_ssl": 2,
    "mail.smtpserver.smtp1.authMethod": 1,
    "mail.provider.suppress_dialog_on_startup": True,
    "mail.shell.checkDefaultClient": False,
    "mail.rights.version": 1,
    "mailnews.start_page.enabled": False,
    "mailnews.start_page_override.mstone": "ignore",
    "mail.inappnotifications.enabled": False,
    "app.update.enabled": False,
    "app.donation.eoy.version.viewed": 999,
    "datareporting.policy.dataSubmissionPolicyBypassNotification": True,
    "datareporting.healthreport.uploadEnabled": False,
    "toolkit.telemetry.enabled": False,
    "browser.safebrowsing.enabled": False,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    "extensions.getAddons.cache.enabled": False,
    "services.settings.server": "http://127.0.0.1:9/",
}

SET = """
const [settings, done] = arguments;
const set = { string: "setStringPref", number: "setIntPref", boolean: "setBoolPref" };
for (const [name, value] of Object.entries(settings)) Services.prefs[set[typeof value]](name, value);
const { MailServices } = ChromeUtils.importESModule("resource:///modules/MailServices.sys.mjs");
MailServices.accounts.getAccount("account1").incomingServer.closeCachedConnections();
(MailServices.outgoingServer ?? MailServices.smtp).defaultServer.closeCachedConnections();
// A proxy's settings are applied, and a PAC file is read, after this.
Services.wm.getMostRecentWindow("mail:3pane").setTimeout(done, 1000);
"""
LOG_IN = """
const [origin, user, password, done] = arguments;
const login = Cc["@mozilla.org/login-manager/loginInfo;1"].createInstance(Ci.nsILoginInfo);
login.init(origin, null, origin, user, password, "", "");
Services.logins.addLoginAsync(login).then(() => done(null), error => done(String(error)));
"""
COMPOSE = """
const [to, subject, body] = arguments;
const { MailServices } = ChromeUtils.importESModule("resource:///modules/MailServices.sys.mjs");
const of = (name, kind) => Cc[`@mozilla.org/messengercompose/${name};1`].createInstance(kind);
const fields = of("composefields", Ci.nsIMsgCompFields);
[fields.to, fields.subject, fields.body] = [to, subject, body];
const params = of("composeparams", Ci.nsIMsgComposeParams);
params.composeFields = fields;
params.identity = MailServices.accounts.getIdentity("id1");
params.format = Ci.nsIMsgCompFormat.PlainText;
MailServices.compose.OpenComposeWindowWithParams(null, params);
"""
CAN_SEND = """
const window = Services.wm.getMostRecentWindow("msgcompose");
const button = window?.gMsgCompose && window.document.getElementById("button-send");
return !!button && !button.disabled;
"""
SEND = 'Services.wm.getMostRecentWindow("msgcompose").goDoCommand("cmd_sendNow")'
# The text of a dialog, `null` while it sends, and `""` when it has: the window has closed.
SENT = """
for (const window of Services.wm.getEnumerator(null)) {
  const { document } = window;
  if (/commonDialog/.test(window.location.href))
    return document.getElementById("infoBody")?.textContent || document.documentElement.textContent || "?";
}
const window = Services.wm.getMostRecentWindow("msgcompose");
if (!window) return "";
for (const frame of window.document.querySelectorAll("browser.dialogFrame")) {
  const text = frame.contentDocument?.getElementById("infoBody")?.textContent;
  if (text) return text;
}
return null;
"""
READ = """
const done = arguments[arguments.length - 1];
const { MailServices } = ChromeUtils.importESModule("resource:///modules/MailServices.sys.mjs");
const window = Services.wm.getMostRecentWindow("mail:3pane");
const root = MailServices.accounts.getAccount("account1").incomingServer.rootFolder;
const stopped = then => ({
  QueryInterface: ChromeUtils.generateQI(["nsIUrlListener"]),
  OnStartRunningUrl() {},
  OnStopRunningUrl(url, result) { result ? done({ error: "0x" + result.toString(16) }) : then(); },
});
function read() {
  const named = () => root.containsChildNamed("INBOX") && root.getChildNamed("INBOX");
  const inbox = root.getFolderWithFlags(Ci.nsMsgFolderFlags.Inbox) || named();
  if (!inbox) return done({ error: "no inbox" });
  const subjects = () => done({ subjects: Array.from(inbox.messages, one => one.mime2DecodedSubject) });
  MailServices.imap.selectFolder(inbox, stopped(subjects), window.msgWindow);
}
MailServices.imap.discoverAllFolders(root, stopped(read), window.msgWindow);
"""


class Thunderbird:
    def __init__(self):
        os.mkdir(PROFILE)
        with open(f"{PROFILE}/user.js", "w") as file:
            for name, value in SETTINGS.items():
                file.write(f"user_pref({json.dumps(name)}, {json.dumps(value)});\n")
        certificates = f"sql:{PROFILE}"
        for words in (["-N", "--empty-password"], ["-A", "-n", "lab", "-t", "C,,", "-i", "/lab/authority.pem"]):
            subprocess.run(["certutil", *words, "-d", certificates], check=True)
        words = ["thunderbird", "--headless", "--no-remote", "--profile", PROFILE]
        words += ["--marionette", "--remote-allow-system-access"]
        with open("/lab/thunderbird.log", "w") as log:
            subprocess.Popen(words, stdout=log, stderr=log)
        self.marionette = Marionette(host="127.0.0.1", port=2828, socket_timeout=PATIENCE)
        self.wait("Thunderbird starts", self.begins)
        self.marionette.set_context("chrome")
        self.marionette.timeout.script = PATIENCE
        self.wait("its window opens", lambda: self.do("return !!Services.wm.getMostRecentWindow('mail:3pane')"))
        self.ask(LOG_IN, f"imap://{HOST}", "reader", "secret")

    def begins(self):
        try:
            return self.marionette.start_session({"unhandledPromptBehavior": "ignore"})
        except (OSError, MarionetteException):
            return None

    def wait(self, what, look):
        end = time.monotonic() + PATIENCE
        while True:
            found = look()
            if found not in (None, False):
                return found
            if time.monotonic() > end:
                sys.exit(f"{what}: not within {PATIENCE} s")
            time.sleep(0.2)

    def do(self, script, *words):
        return self.marionette.execute_script(script, script_args=words, sandbox="system", new_sandbox=False)

    def ask(self, script, *words):
        return self.marionette.execute_async_script(script, script_args=words, sandbox="system", new_sandbox=False)

    def sent(self):
        try:
            return self.marionette.switch_to_alert().text
        except NoAlertPresentException:
            return self.do(SENT)

    def send(self, subject):
        self.do(COMPOSE, READER, subject, "Sent by Thunderbird.\n")
        self.wait("the letter can be sent", lambda: self.do(CAN_SEND))
        began = time.monotonic()
        self.do(SEND)
        said = self.wait(f"{subject}: it is sent", self.sent)
        if said:
            sys.exit(f"{subject}: {said}")
        print(f"{subject}: sent in {time.monotonic() - began:.2f} s", flush=True)

    def read(self, subject):
        began = time.monotonic()

        def is_there():
            found = self.ask(READ)
            print(f"inbox: {found}", file=sys.stderr)
            return subject in found.get("subjects", [])

        self.wait(f"{subject}: it is in the inbox", is_there)
        print(f"{subject}: read in {time.monotonic() - began:.2f} s", flush=True)


thunderbird = Thunderbird()
for letter in map(json.loads, sys.argv[1:]):
    thunderbird.ask(SET, letter["settings"])
    thunderbird.send(letter["subject"])
    if letter["inbox"]:
        thunderbird.read(letter["subject"])
