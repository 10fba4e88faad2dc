"""Speed and memory, measured side by side in one run, and told as ratios: no two hosts are alike."""
