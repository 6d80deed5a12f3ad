"""What an app team is handed: a folder with files, card, licence notes, sample code and checksums; and its opener."""
