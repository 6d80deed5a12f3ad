"""Do held-out answers of the teacher judge students as labels do?"""
