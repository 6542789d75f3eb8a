"""Folders of pictures as people have them: does each network learn them with the settings of `data=folder`?

    python benchmarks/folder.py                                  every set, network and seed; about N minutes
    python benchmarks/folder.py --sets white black --networks small_cnn --seeds 0

Each row of the table is a set of pictures, made here without a download:

- `white`, `black`: colored drawings of a ball, a box or a star, of any size and anywhere, on white or on black;
- `scenes`: the same drawings, each before a crop of one of scikit-learn's two sample photographs;
- `photographs`: crops of these two photographs, which are the two classes;
- `letters26`, `letters62`, `letters100`: characters in Pillow's font, of any size and a little turned, anywhere.

Of N pictures of a class, a fifth is left out, as `data=folder` does without test/; tested is on 100 others of each
class. What was trained before is read from the folder of its run, so an interrupted benchmark goes on.
"""
