"""What a base run will need before a single node is taken: parameters, memory, time, energy. Needs no accelerator."""
