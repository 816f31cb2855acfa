// Trees and allocation: a treap that grows and shrinks, and binary trees that are built and thrown away.
//
// Pointers are followed and changed, each node is allocated and freed on its own; a good part of the time is the C
// library's malloc.

#include "kernel.h"

struct node {
  struct node *left, *right;
  uint32_t key, priority;
  uint64_t value;
};

static uint64_t state = 1234567;

static struct node *node_make(uint32_t key) {
  struct node *node = malloc(sizeof *node);
  if (node == NULL) exit(1);
  uint64_t random = next_random(&state);
  *node = (struct node){NULL, NULL, key, (uint32_t)(random >> 32), random & 0xFFFF};
  return node;
}

// Splits a tree into the keys below `key` and the others.
static void split(struct node *tree, uint32_t key, struct node **below, struct node **above) {
  while (tree != NULL) {
    if (tree->key < key) {
      *below = tree;
      below = &tree->right;
      tree = tree->right;
    } else {
      *above = tree;
      above = &tree->left;
      tree = tree->left;
    }
  }
  *below = *above = NULL;
}

// Joins two trees of which all keys of the first are below those of the second.
static struct node *join(struct node *a, struct node *b) {
  if (a == NULL) return b;
  if (b == NULL) return a;
  if (a->priority > b->priority) {
    a->right = join(a->right, b);
    return a;
  }
  b->left = join(a, b->left);
  return b;
}

static struct node *find(struct node *tree, uint32_t key) {
  while (tree != NULL && tree->key != key) tree = key < tree->key ? tree->left : tree->right;
  return tree;
}

static void insert(struct node **link, uint32_t key) {
  struct node *node = node_make(key);
  while (*link != NULL && (*link)->priority >= node->priority) link = key < (*link)->key ? &(*link)->left : &(*link)->right;
  split(*link, key, &node->left, &node->right);
  *link = node;
}

static void removed(struct node **link, uint32_t key) {
  while (*link != NULL && (*link)->key != key) link = key < (*link)->key ? &(*link)->left : &(*link)->right;
  struct node *node = *link;
  if (node == NULL) return;
  *link = join(node->left, node->right);
  free(node);
}

static uint64_t sum(const struct node *tree) {
  return tree == NULL ? 0 : tree->value + 3 * sum(tree->left) + 5 * sum(tree->right);
}

static void drop(struct node *tree) {
  if (tree == NULL) return;
  drop(tree->left);
  drop(tree->right);
  free(tree);
}

// A full tree of that depth.
static struct node *full(uint32_t depth) {
  struct node *node = node_make(depth);
  if (depth > 0) {
    node->left = full(depth - 1);
    node->right = full(depth - 1);
  }
  return node;
}

int main(int argc, char **argv) {
  uint64_t size = kernel_size(argc, argv, 2500000, 2000);
  uint64_t checksum = 0;
  struct node *tree = NULL;
  for (uint64_t round = 0; round < size; round++) {
    uint32_t key = (uint32_t)(next_random(&state) >> 32) % 65536;
    struct node *found = find(tree, key);
    if (found == NULL) {
      insert(&tree, key);
    } else if (found->value % 4 == 0) {
      removed(&tree, key);
    } else {
      checksum += found->value--;
    }
  }
  checksum = mix(checksum, sum(tree));
  drop(tree);
  uint32_t depth = 0;
  while ((2000u << depth) < size) depth++;
  for (uint32_t round = 0; round < 16; round++) {
    struct node *one = full(depth + 3);
    checksum = mix(checksum, sum(one));
    drop(one);
  }
  return kernel_report("tree", size, checksum);
}
