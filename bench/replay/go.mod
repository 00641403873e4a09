module replay

go 1.22
