//! The functions with which a test changes and reads the assets of SiteWise, besides the API.

use std::collections::BTreeSet;

use crate::cloud::Cloud;
use crate::cloud::associations::Group;
use crate::cloud::calls::Operation;
use crate::cloud::state::NotInProject;

impl Cloud {
    /// Associates child assets with a parent asset under a hierarchy, as a user of the console
    /// does. All of them exist from then on, also without children. An id has the form that calls
    /// use, including `externalId:…`.
    pub fn add_child_assets(
        &self,
        parent: &str,
        hierarchy: &str,
        children: impl IntoIterator<Item = impl Into<String>>,
    ) {
        self.add(&Group::children(parent, hierarchy), children);
    }

    /// The child assets that a parent asset has under a hierarchy.
    pub fn child_assets(&self, parent: &str, hierarchy: &str) -> BTreeSet<String> {
        self.members(&Group::children(parent, hierarchy))
    }

    /// Adds assets to a project, as a user of the console does. The project exists from then on,
    /// also without assets.
    pub fn add_project_assets(&self, project: &str, assets: impl IntoIterator<Item = impl Into<String>>) {
        self.add(&Group::Project(project.to_owned()), assets);
    }

    /// The assets of a project.
    pub fn project_assets(&self, project: &str) -> BTreeSet<String> {
        self.members(&Group::Project(project.to_owned()))
    }

    /// How often calls actually disassociated the asset from a parent asset or a project.
    pub fn effective_asset_disassociations(&self, asset: &str) -> usize {
        let associations = &self.shared.lock().associations;
        let operations = [Operation::DisassociateAssets, Operation::DisassociateProjectAssets];
        operations.iter().map(|operation| associations.taken_off(*operation, asset)).sum()
    }

    /// Sets the effect of disassociating an asset from a project that does not contain it.
    pub fn set_not_in_project(&self, behaviour: NotInProject) {
        self.shared.change(|state| state.settings.not_in_project = behaviour);
    }

    fn add(&self, group: &Group, members: impl IntoIterator<Item = impl Into<String>>) {
        let members: Vec<String> = members.into_iter().map(Into::into).collect();
        self.shared.add(group, &members);
    }

    fn members(&self, group: &Group) -> BTreeSet<String> {
        self.shared.lock().associations.members(group).into_keys().collect()
    }
}
