print("precast-bench")
