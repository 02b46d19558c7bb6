# wrong: the message is printed, no file is written
from email.mime.text import MIMEText

msg = MIMEText("This is a test email sent from Python.")
msg["Subject"] = "Advanced Python Test"
msg["From"] = "me@example.com"
msg["To"] = "you@example.com"
print(msg.as_string())
