"""Arrays in the memory layouts of other libraries; it knows arrays and no stores."""
