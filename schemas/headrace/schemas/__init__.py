"""The Avro contracts of Headrace: records, tensors, topics and the codec between them and bytes.

Import what you need from its module: `records` and `topics` are plain data and import nothing
else, `tensors` needs numpy, `codec` needs fastavro.
"""
