# What an interactive `lab shell` starts with: the user's own settings, then the lab's tools before anything else.
[ ! -f ~/.bashrc ] || . ~/.bashrc
PATH=$ZAB_LAB_PATH:$PATH
PS1='(zab-lab) \w # '
