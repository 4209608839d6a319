"""Methods that train on data of earlier tasks again."""
