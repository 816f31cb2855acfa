print("precast")
