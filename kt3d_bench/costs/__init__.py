"""What a run will cost before it is started: counted work, measured rates, nothing invented."""
