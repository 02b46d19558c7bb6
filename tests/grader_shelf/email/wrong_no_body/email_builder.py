# wrong: the message has no body
from email.message import EmailMessage

msg = EmailMessage()
msg["Subject"] = "Advanced Python Test"
msg["From"] = "me@example.com"
msg["To"] = "you@example.com"

with open("test_email.eml", "wb") as f:
    f.write(msg.as_bytes())
