from email.message import EmailMessage

msg = EmailMessage()
msg["Subject"] = "Advanced Python Test"
msg["From"] = "me@example.com"
msg["To"] = "you@example.com"
msg.set_content("This is a test email sent from Python.")

with open("test_email.eml", "wb") as f:
    f.write(msg.as_bytes())
