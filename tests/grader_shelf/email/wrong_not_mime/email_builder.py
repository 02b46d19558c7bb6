# wrong: plain lines, no blank line before the body: a mail program finds no body
with open("test_email.eml", "w") as f:
    f.write("Subject: Advanced Python Test\n")
    f.write("From: me@example.com\n")
    f.write("To: you@example.com\n")
    f.write("Body: This is a test email sent from Python.\n")
