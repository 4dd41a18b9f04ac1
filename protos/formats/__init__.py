"""What the files of a submission may hold, told by their content: read as a stream, in bounded memory, trusting nothing.

JSON Lines, Parquet, plain text and safetensors; everything else is refused, pickles above all. Nothing here unpickles,
unpacks archives or runs what a file holds. The same code checks at the member's and at the hub's side.
"""
