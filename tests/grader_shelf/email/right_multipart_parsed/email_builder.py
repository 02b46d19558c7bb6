import email
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText

FILE = "test_email.eml"


def build():
    message = MIMEMultipart()
    message["Subject"] = "Advanced Python Test"
    message["From"] = "me@example.com"
    message["To"] = "you@example.com"
    message.attach(MIMEText("This is a test email sent from Python.", "plain", "utf-8"))
    return message


def save(message):
    with open(FILE, "w") as f:
        f.write(message.as_string())


def show():
    with open(FILE) as f:
        message = email.message_from_file(f)
    print("Subject:", message["Subject"])
    for part in message.walk():
        if part.get_content_type() == "text/plain":
            print("Body:", part.get_payload(decode=True).decode())


save(build())
show()
