# wrong: lists the folder it runs in and never asks the server
import os

for name in os.listdir("."):
    if name.endswith(".txt"):
        print(name)
