# wrong: From and To are swapped
from email.message import EmailMessage

msg = EmailMessage()
msg["Subject"] = "Advanced Python Test"
msg["From"] = "you@example.com"
msg["To"] = "me@example.com"
msg.set_content("This is a test email sent from Python.")

with open("test_email.eml", "wb") as f:
    f.write(msg.as_bytes())
