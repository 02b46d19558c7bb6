# wrong: prints names that it knows by heart and connects to nothing
names = ["README", "README.CD-manufacture", "README.html", "README.mirrors.html"]
names += ["README.mirrors.txt", "dists", "doc", "extrafiles", "indices", "ls-lR.gz"]
for name in names:
    print(name)
